package main

import "syscall"

// attributes keep a terminal's Ctrl-C from reaching the pods, and end them with us
// even if we are killed.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
