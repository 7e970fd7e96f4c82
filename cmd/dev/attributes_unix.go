//go:build unix && !linux

package main

import "syscall"

// attributes keep Ctrl-C in a terminal for us. Only Linux can also end a pod
// with us: elsewhere it is left behind when we are killed.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
