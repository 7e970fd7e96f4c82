package main

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
)

// errClearText is the refusal to send a token where others may read it.
var errClearText = errors.New("API_URL leads beyond this machine by plain http, where others could read API_TOKEN: use https, or --insecure if the way there is safe; nothing was sent")

// isThisMachine reports whether a host's name or address promises to be this
// machine. A name may break the promise; see [thisMachineOnly].
func isThisMachine(host string) bool {
	if address, err := netip.ParseAddr(host); err == nil {
		return address.IsLoopback()
	}
	name := "." + strings.TrimSuffix(strings.ToLower(host), ".")
	return strings.HasSuffix(name, ".localhost")
}

// thisMachineOnly is a dialer's control that refuses an address which is not
// this machine's own: a name server may say anything about *.localhost.
func thisMachineOnly(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !to.Addr().IsLoopback() {
		return errClearText
	}
	return nil
}

// tunnelOnly takes a proxy from the environment for https alone, which it
// cannot read.
func tunnelOnly(r *http.Request) (*url.URL, error) {
	if r.URL.Scheme != "https" {
		return nil, nil
	}
	return http.ProxyFromEnvironment(r)
}
