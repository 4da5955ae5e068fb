// Command roamkeyd is the access router's end of secure IPv6 handover, with its own tools: it checks its settings and the
// machine, makes its key, shows what it does, and cleans up.
package main

import (
	"io"
	"os"
)

// version is set by the linker (-X main.version=...).
var version = "devel"

// Exit codes of all commands but status, which has more.
const (
	exitOK     = 0
	exitFailed = 1 // what was asked for could not be done, or check found errors
	exitUsage  = 2 // the command line is wrong
)

// program is one run of roamkeyd.
type program struct {
	stdout, stderr io.Writer
	version        string
}

func main() {
	p := &program{stdout: os.Stdout, stderr: os.Stderr, version: version}
	os.Exit(p.run(os.Args[1:]))
}

// command is one subcommand.
type command struct {
	name    string
	args    string // what may follow its options, for the usage
	summary string
	details string // for help, after the options
	run     func(p *program, c *command, args []string) int
}

func commands() []command {
	return []command{
		runCommand(), checkCommand(), statusCommand(), handoverCommand(), keygenCommand(), caCommand(), cleanupCommand(),
		{name: "version", summary: "print the version", run: (*program).versionCommand},
		{name: "help", args: "[COMMAND | options]", summary: "tell more of a command, or of all settings", run: (*program).help},
	}
}

func (p *program) run(args []string) int {
	if len(args) == 0 {
		p.usage(p.stderr)
		return exitUsage
	}
	switch args[0] {
	case "--version", "-version", "-V":
		return p.versionCommand(nil, args[1:])
	case "--help", "-help", "-h":
		return p.help(nil, args[1:])
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.run(p, &c, args[1:])
		}
	}
	p.fail("there is no command %q: roamkeyd help lists all", args[0])
	return exitUsage
}
