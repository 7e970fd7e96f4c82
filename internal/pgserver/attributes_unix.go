//go:build unix && !linux

package pgserver

import "syscall"

// attributes keep Ctrl-C in a terminal from reaching the server. Only Linux can also end
// the server when the caller ends. Elsewhere a killed caller leaves it running.
func attributes(credential *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: credential, Setpgid: true}
}
