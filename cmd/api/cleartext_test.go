package main

import (
	"errors"
	"net/http"
	"testing"
)

func TestTheseHostsAreThisMachine(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LOCALHOST": true, "localhost.": true, "pod.localhost": true, "127.0.0.1": true, "127.255.0.9": true, "::1": true, "::ffff:127.0.0.1": true,
		"": false, ".": false, "pod": false, "notlocalhost": false, "localhost.example": false, "127.0.0.1.example": false, "127.1": false,
		"0.0.0.0": false, "::": false, "10.0.0.1": false, "169.254.1.1": false, "fe80::1%lo": false, "2001:db8::1": false,
	} {
		if got := isThisMachine(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}

// A name server may resolve a name under localhost to another machine.
func TestANameThatLeadsElsewhereIsNotDialled(t *testing.T) {
	for address, want := range map[string]error{
		"127.0.0.1:80": nil, "[::1]:80": nil, "10.0.0.1:80": errClearText, "[2001:db8::1]:80": errClearText, "0.0.0.0:80": errClearText, "nonsense": errClearText,
	} {
		if err := thisMachineOnly("tcp", address, nil); !errors.Is(err, want) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestAProxyOfTheEnvironmentSeesNoClearText(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://proxy.example")
	t.Setenv("NO_PROXY", "")
	for _, address := range []string{"http://pod.example/", "http://pod.localhost/"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if proxy, err := tunnelOnly(request); proxy != nil || err != nil {
			t.Errorf("%s: %v, %v", address, proxy, err)
		}
	}
}
