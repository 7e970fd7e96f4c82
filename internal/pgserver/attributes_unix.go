//go:build unix && !linux

package pgserver

import "syscall"

// attributes keep Ctrl-C in a terminal for the caller. Only Linux can also end
// the server with the caller: elsewhere a caller that is killed leaves it behind.
func attributes(credential *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: credential, Setpgid: true}
}
