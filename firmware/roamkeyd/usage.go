package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/roamkey/roamkey/firmware/config"
	"github.com/roamkey/roamkey/firmware/control"
)

// fail tells what is wrong, on one line that fits a console where it can.
func (p *program) fail(format string, args ...any) {
	p.wrapped(p.stderr, "roamkeyd: ", "  ", fmt.Sprintf(format, args...))
}

// wrapped writes a text in lines of at most 80 columns. Line breaks of the text stay.
func (p *program) wrapped(w io.Writer, first, next, text string) {
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		for _, l := range control.Wrap(first, next, line) {
			fmt.Fprintln(w, l)
		}
		first = next
	}
}

func (p *program) usage(w io.Writer) {
	fmt.Fprintln(w, "usage: roamkeyd COMMAND [OPTION]...")
	fmt.Fprintln(w)
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-8s %s\n", c.name, c.summary)
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "roamkeyd help COMMAND tells more of one, roamkeyd help options of all settings.")
}

// usage tells all of one command.
func (c *command) usage(w io.Writer, flags *flag.FlagSet) {
	line := "usage: roamkeyd " + c.name
	if flags != nil {
		line += " [OPTION]..."
	}
	fmt.Fprintln(w, strings.TrimSpace(line+" "+c.args))
	fmt.Fprintf(w, "\n%s.\n", strings.ToUpper(c.summary[:1])+c.summary[1:])
	if flags != nil {
		fmt.Fprintln(w)
		flags.VisitAll(func(f *flag.Flag) {
			value, text := flag.UnquoteUsage(f)
			name := "--" + f.Name
			if f.Name == "c" {
				name = "-c"
			}
			head := fmt.Sprintf("  %-14s ", strings.TrimSpace(name+" "+value))
			for _, l := range control.Wrap(head, strings.Repeat(" ", 17), text) {
				fmt.Fprintln(w, l)
			}
		})
	}
	if c.details != "" {
		fmt.Fprintf(w, "\n%s\n", c.details)
	}
}

// options of one command line.
type options struct {
	*flag.FlagSet
	command *command
	config  string
}

// newOptions begins with what every command has: -c.
func newOptions(c *command) *options {
	o := &options{FlagSet: flag.NewFlagSet(c.name, flag.ContinueOnError), command: c}
	o.SetOutput(io.Discard)
	o.Usage = func() {}
	o.StringVar(&o.config, "c", config.DefaultPath, "`FILE` of settings, otherwise "+config.DefaultPath)
	return o
}

// read reads options and at most that many arguments, in any order. done tells that there is nothing more to do, with code.
func (p *program) read(o *options, args []string, most int) (rest []string, code int, done bool) {
	for {
		if err := o.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				o.command.usage(p.stdout, o.FlagSet)
				return nil, exitOK, true
			}
			p.fail("%s: %v: roamkeyd help %s tells what it takes", o.command.name, err, o.command.name)
			return nil, exitUsage, true
		}
		if args = o.Args(); len(args) == 0 {
			break
		}
		rest, args = append(rest, args[0]), args[1:]
	}
	if len(rest) > most {
		p.fail("%s: %q is too much: roamkeyd help %s tells what it takes", o.command.name, rest[most], o.command.name)
		return nil, exitUsage, true
	}
	return rest, exitOK, false
}

func (p *program) versionCommand(_ *command, args []string) int {
	if len(args) > 0 {
		p.fail("version: %q is too much", args[0])
		return exitUsage
	}
	fmt.Fprintln(p.stdout, "roamkeyd", p.version)
	return exitOK
}

func (p *program) help(_ *command, args []string) int {
	switch {
	case len(args) == 0:
		p.usage(p.stdout)
		return exitOK
	case len(args) > 1:
		p.fail("help: %q is too much", args[1])
		return exitUsage
	case args[0] == "options":
		io.WriteString(p.stdout, config.Reference())
		return exitOK
	case args[0] == "help" || args[0] == "version":
		for _, c := range commands() {
			if c.name == args[0] {
				c.usage(p.stdout, nil)
			}
		}
		return exitOK
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.run(p, &c, []string{"--help"})
		}
	}
	p.fail("help: there is no command %q: roamkeyd help lists all", args[0])
	return exitUsage
}
