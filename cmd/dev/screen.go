package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"

	"golang.org/x/term"
)

// screen is standard output: lines, and on a terminal a frame below them that is
// redrawn in place.
type screen struct {
	out      *os.File
	terminal bool
	drawn    []string // the frame that is on the screen, above the cursor
}

func newScreen(out *os.File) *screen {
	return &screen{out: out, terminal: term.IsTerminal(int(out.Fd()))}
}

// say prints text above the frame, which then has to be drawn again. Write errors
// are ignored: if the reader has gone, SIGPIPE or SIGHUP stops us.
func (s *screen) say(text string) {
	if s.terminal {
		text = s.top() + "\x1b[J" + text
		s.drawn = nil
	}
	_, _ = s.out.WriteString(text + "\n")
}

// draw replaces the frame.
func (s *screen) draw(lines []string) {
	if !s.terminal {
		return
	}
	lines = s.fit(lines)
	if slices.Equal(lines, s.drawn) {
		return
	}
	var text bytes.Buffer
	text.WriteString(s.top())
	for _, line := range lines {
		text.WriteString(line + "\x1b[K\n")
	}
	text.WriteString("\x1b[J")
	s.drawn = lines
	_, _ = s.out.Write(text.Bytes())
}

// leave keeps the frame on the screen as it is.
func (s *screen) leave() { s.drawn = nil }

// top moves the cursor to the frame's first line.
func (s *screen) top() string {
	if len(s.drawn) == 0 {
		return "\r"
	}
	return fmt.Sprintf("\r\x1b[%dA", len(s.drawn))
}

// fit cuts the lines to the terminal's size, because the frame's height is counted
// in lines, and a line that wraps would take two.
func (s *screen) fit(lines []string) []string {
	width, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil || width == 0 || height == 0 {
		return lines
	}
	cut := slices.Clone(lines[:min(len(lines), height-1)])
	for i, line := range cut {
		if letters := []rune(line); len(letters) > width {
			cut[i] = string(letters[:width])
		}
	}
	return cut
}
