package main

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
)

// errClearText is returned instead of sending a token that others could read on
// the way.
var errClearText = errors.New("API_URL is plain http to another machine, so others could read API_TOKEN: use https, or --insecure if the network is safe; nothing was sent")

// isThisMachine reports whether a host's name or address should be this machine.
// A name may resolve to another one all the same; see [thisMachineOnly].
func isThisMachine(host string) bool {
	if address, err := netip.ParseAddr(host); err == nil {
		return address.IsLoopback()
	}
	name := "." + strings.TrimSuffix(strings.ToLower(host), ".")
	return strings.HasSuffix(name, ".localhost")
}

// thisMachineOnly is a [net.Dialer] control that allows only loopback addresses,
// because a name server may resolve *.localhost to anything.
func thisMachineOnly(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !to.Addr().IsLoopback() {
		return errClearText
	}
	return nil
}

// tunnelOnly uses the environment's proxy only for https, which the proxy cannot
// read.
func tunnelOnly(r *http.Request) (*url.URL, error) {
	if r.URL.Scheme != "https" {
		return nil, nil
	}
	return http.ProxyFromEnvironment(r)
}
