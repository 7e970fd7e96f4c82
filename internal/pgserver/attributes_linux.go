package pgserver

import "syscall"

// attributes keep Ctrl-C in a terminal for the caller, and end the server with
// the caller. The signal asks for an immediate shutdown: unlike a kill it takes
// the backends along, and unlike a fast shutdown it waits for nobody.
func attributes(credential *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: credential, Setpgid: true, Pdeathsig: syscall.SIGQUIT}
}
