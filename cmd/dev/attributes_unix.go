//go:build unix && !linux

package main

import "syscall"

// attributes keep a terminal's Ctrl-C from reaching the pods. Only Linux can also
// end them with us: elsewhere they keep running if we are killed.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
