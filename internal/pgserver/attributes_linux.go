package pgserver

import "syscall"

// attributes keep Ctrl-C in a terminal from reaching the server, and end the server when
// the caller ends. SIGQUIT asks for an immediate shutdown. Unlike SIGKILL it ends the
// backends too, and unlike a fast shutdown it does not wait (PostgreSQL manual, Shutting
// Down the Server).
func attributes(credential *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: credential, Setpgid: true, Pdeathsig: syscall.SIGQUIT}
}
