package main

import "syscall"

// attributes keep Ctrl-C in a terminal for us, and end a pod with us, also when
// we are killed.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
