-- ask_the_gate asks about a request, and leaves the answer's status in txn.gate:
-- 200 lets it pass, 503 refuses it, and 0 means that nothing answered.

local address = "http://127.0.0.1:8180/gate"
local timeout = 5000 -- milliseconds

-- Headers of the visitor's connection, and of the body, which is not sent along.
local left_out = { "connection", "content-length", "expect", "keep-alive", "te", "trailer", "transfer-encoding" }

core.register_action("ask_the_gate", { "http-req" }, function(txn)
	txn:set_var("txn.gate", 0)

	local headers = txn.http:req_get_headers()
	for _, name in ipairs(left_out) do
		headers[name] = nil
	end
	headers["x-forwarded-method"] = { txn.sf:method() }
	headers["x-forwarded-uri"] = { txn.sf:pathq() }

	local response = core.httpclient():get({ url = address, headers = headers, timeout = timeout })
	if response then
		txn:set_var("txn.gate", response.status)
	end
end)
