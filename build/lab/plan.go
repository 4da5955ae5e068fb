package main

import (
	"fmt"
	"strings"
	"time"
)

// step is one program that a guest runs.
type step struct {
	name    string
	timeout time.Duration
	args    []string // the first is the program's path in the guest
}

// plan is what a guest's init does, as text: a line "module FILE" for each module, "step NAME SECONDS PROGRAM ARGUMENT..." for
// each step; words are separated by blanks.
func plan(modules []string, steps []step) []byte {
	var b strings.Builder
	for _, m := range modules {
		fmt.Fprintf(&b, "module /modules/%s\n", m)
	}
	for _, s := range steps {
		fmt.Fprintf(&b, "step %s %d %s\n", s.name, int(s.timeout.Seconds()), strings.Join(s.args, " "))
	}
	return []byte(b.String())
}
