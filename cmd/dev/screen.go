package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"

	"golang.org/x/term"
)

// screen is where we write: lines, and in a terminal a frame that stays below
// them and is redrawn in place.
type screen struct {
	out      *os.File
	terminal bool
	drawn    []string // the frame that stands above the cursor
}

func newScreen(out *os.File) *screen {
	return &screen{out: out, terminal: term.IsTerminal(int(out.Fd()))}
}

// say prints text for good; the frame has to be drawn again below it. Nobody
// is told when the reader has gone: SIGPIPE or SIGHUP ends us.
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

// leave lets the frame stand where it is.
func (s *screen) leave() { s.drawn = nil }

// top moves the cursor to the frame's first line.
func (s *screen) top() string {
	if len(s.drawn) == 0 {
		return "\r"
	}
	return fmt.Sprintf("\r\x1b[%dA", len(s.drawn))
}

// fit cuts the lines to the terminal's size: a line that wraps would be counted
// as one when the frame is redrawn.
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
