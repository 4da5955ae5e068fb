package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"

	"github.com/roamkey/roamkey/firmware/config"
	"github.com/roamkey/roamkey/firmware/control"
)

// Exit codes of status beside exitOK and exitUsage. 3 and 4 are those of the Linux Standard Base for a service.
const (
	exitUnhealthy  = 1 // it runs, but something is not as configured
	exitNotRunning = 3
	exitUnknown    = 4 // it runs or not, but cannot be asked
)

func statusCommand() command {
	return command{
		name:    "status",
		summary: "show links, nodes, bindings and counters of the running daemon",
		details: `Exit code, for a health check:
  0  all is well                     3  roamkeyd does not run
  1  it runs, with warnings          4  it cannot be asked
  2  the command line is wrong`,
		run: (*program).status,
	}
}

func (p *program) status(c *command, args []string) int {
	o := newOptions(c)
	asJSON := o.Bool("json", false, "print JSON, for programs")
	all := o.Bool("all", false, "show counters that are zero, too")
	socket := o.String("socket", "", "`PATH` of the control socket, otherwise as the settings say")
	quiet := o.Bool("quiet", false, "print nothing: the exit code tells")
	if _, code, done := p.read(o, args, 0); done {
		return code
	}
	if *socket == "" {
		*socket = controlSocket(o.config)
	}
	snapshot, raw, err := ask(*socket)
	if err != nil {
		if !*quiet {
			p.fail("%v", err)
		}
		if errors.Is(err, control.ErrNotRunning) {
			return exitNotRunning
		}
		return exitUnknown
	}
	switch {
	case *quiet:
	case *asJSON:
		var b bytes.Buffer
		if err = json.Indent(&b, raw, "", "  "); err == nil {
			b.WriteByte('\n')
			_, err = p.stdout.Write(b.Bytes())
		}
	default:
		err = snapshot.WriteText(p.stdout, *all)
	}
	if err != nil {
		p.fail("%v", err)
		return exitUnknown
	}
	if !snapshot.Healthy() {
		return exitUnhealthy
	}
	return exitOK
}

func ask(socket string) (control.Snapshot, json.RawMessage, error) {
	client, err := control.Dial(socket)
	if err != nil {
		return control.Snapshot{}, nil, err
	}
	defer client.Close()
	return client.Status()
}

// controlSocket gives the socket that a file of settings names. A file that cannot be read, or that has errors, does not
// keep anybody from asking the daemon that runs: what it does say counts, and otherwise the default.
func controlSocket(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		text = nil
	}
	settings, _ := config.Parse(file, string(text))
	return settings.Global.Control
}
