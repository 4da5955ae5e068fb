package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/roamkey/roamkey/build/netlab"
)

func main() {
	binary := flag.String("roamkeyd", "bin/roamkeyd", "the daemon to measure")
	echo := flag.Bool("echo", false, "be the echo that latencies are compared with")
	only := flag.String("only", "", "run only what has this in its name: exchange, update, memory, answer, fast")
	flag.Parse()
	if *echo {
		if err := serveEcho(); err != nil {
			fmt.Fprintln(os.Stderr, "bench: echo:", err)
			os.Exit(1)
		}
		return
	}
	if code, done, err := netlab.Enter(); done || err != nil {
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			code = 1
		}
		os.Exit(code)
	}
	if err := run(*binary, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(binary, only string) error {
	f := &figures{out: os.Stdout}
	for _, part := range []struct {
		name, what string
		run        func(n *network) error
	}{
		{"exchange", "key exchanges against raw RSA, about 25 s", func(n *network) error { return exchanges(f, n, binary) }},
		{"update", "binding updates on all processors, about 10 s", func(n *network) error { return updates(f, n, binary, false) }},
		{"update-one", "binding updates on one processor, about 15 s", func(n *network) error { return updates(f, n, binary, true) }},
		{"memory", "memory at 10,000 associations, about 15 s", func(n *network) error { return memory(f, n, binary) }},
		{"answer", "signed answers against raw RSA, about 30 s", func(n *network) error { return answers(f, n, binary) }},
		{"fast", "fast binding updates on all processors, about 25 s", func(n *network) error { return fastUpdates(f, n, binary, false) }},
		{"fast-one", "fast binding updates on one processor, about 25 s", func(n *network) error { return fastUpdates(f, n, binary, true) }},
		{"keys-memory", "memory for handover keys, about 45 s", func(n *network) error { return keysMemory(f, n, binary) }},
		{"held-memory", "memory for packets that are kept, about 20 s", func(n *network) error { return heldMemory(f, n, binary) }},
	} {
		if !strings.Contains(part.name, only) {
			continue
		}
		fmt.Fprintln(os.Stderr, "bench: measuring", part.what)
		if err := measure(part.run); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	if f.over != nil {
		return fmt.Errorf("over the limit: %s", strings.Join(f.over, ", "))
	}
	return nil
}

// measure runs one part in a network of its own, so that none finds what another left.
func measure(part func(*network) error) error {
	n, err := newNetwork()
	if err != nil {
		return err
	}
	defer n.close()
	return part(n)
}
