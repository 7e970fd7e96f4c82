-- ask_the_gate asks about a request, and leaves the answer's status in txn.gate:
-- 200 lets it pass, 503 refuses it, and 0 means that nothing answered.

local address = "http://127.0.0.1:8180/gate"
local timeout = 5000 -- milliseconds

-- What the gate looks at besides the method.
local told = {
	"upgrade", "sec-websocket-key",
	"x-http-method-override", "x-http-method", "x-method-override",
}

core.register_action("ask_the_gate", { "http-req" }, function(txn)
	txn:set_var("txn.gate", 0)

	local request = txn.http:req_get_headers()
	local headers = { ["x-forwarded-method"] = { txn.sf:method() } }
	for _, name in ipairs(told) do
		if request[name] then
			headers[name] = { request[name][0] }
		end
	end

	local response = core.httpclient():get({ url = address, headers = headers, timeout = timeout })
	if response then
		txn:set_var("txn.gate", response.status)
	end
end)
