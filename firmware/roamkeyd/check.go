package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"

	"github.com/roamkey/roamkey/drivers/hostnet"
	"github.com/roamkey/roamkey/firmware/config"
	"github.com/roamkey/roamkey/firmware/control"
)

func checkCommand() command {
	return command{
		name:    "check",
		summary: "look for mistakes in the settings and for what this machine lacks",
		details: `Root checks for the user of the settings, others for themselves. A warning is
something that may be meant; errors keep roamkeyd from working. The exit code is
0 without errors, 1 with some.`,
		run: (*program).check,
	}
}

func (p *program) check(c *command, args []string) int {
	o := newOptions(c)
	name := o.String("user", "", "check for the user `NAME`, otherwise the one of the settings (root), or oneself")
	etc := o.String("etc", "/etc", "`DIR` where other programs' settings stand")
	only := o.Bool("settings", false, "look at the settings only, not at this machine")
	if _, code, done := p.read(o, args, 0); done {
		return code
	}
	var r report
	settings := r.settings(o.config)
	if settings != nil && !*only {
		who, err := r.who(*name, settings.Global.User)
		if err != nil {
			p.fail("check: %v", err)
			return exitUsage
		}
		facts := probeKernel(settings.Global.Tunnel)
		r.files(settings, o.config, who, facts)
		r.kernel(settings.Global.Tunnel, facts)
		r.machine(settings, config.Others{Dir: *etc})
	}
	r.write(p.stdout)
	if r.errors > 0 {
		return exitFailed
	}
	return exitOK
}

// report is what check found, in the order in which it looked.
type report struct {
	lines            []line
	errors, warnings int
}

type line struct{ level, text string }

func (r *report) error(format string, args ...any) {
	r.errors++
	r.lines = append(r.lines, line{"error: ", fmt.Sprintf(format, args...)})
}

func (r *report) warning(format string, args ...any) {
	r.warnings++
	r.lines = append(r.lines, line{"warning: ", fmt.Sprintf(format, args...)})
}

func (r *report) note(format string, args ...any) {
	r.lines = append(r.lines, line{"note: ", fmt.Sprintf(format, args...)})
}

// write shows the report on a console of 80 columns.
func (r *report) write(w io.Writer) {
	for _, l := range r.lines {
		for _, text := range control.Wrap(l.level, "  ", l.text) {
			fmt.Fprintln(w, text)
		}
	}
	if r.errors == 0 && r.warnings == 0 {
		fmt.Fprintln(w, "all is well")
		return
	}
	fmt.Fprintf(w, "%s, %s\n", counted(r.errors, "error"), counted(r.warnings, "warning"))
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// settings reads the file; nil if it has errors.
func (r *report) settings(file string) *config.Config {
	settings, err := config.Load(file)
	var problems config.Problems
	switch {
	case errors.As(err, &problems):
		for _, problem := range problems {
			r.error("%v", problem)
		}
		return nil
	case err != nil:
		r.error("%v", err)
		return nil
	}
	for _, w := range settings.Warnings {
		r.warning("%v", w)
	}
	return settings
}

// identity is the user for whom files are tried.
type identity struct {
	name     string
	uid, gid int
	groups   []int
	self     bool // this process' own user: nothing need be changed to try
}

// who finds the user to check for: the one that is named, root's choice of the settings, or oneself.
func (r *report) who(named, configured string) (identity, error) {
	self := identity{name: strconv.Itoa(os.Geteuid()), uid: os.Geteuid(), self: true}
	if u, err := user.LookupId(self.name); err == nil {
		self.name = u.Username
	}
	name := named
	if name == "" {
		name = configured
	}
	if named == "" && self.uid != 0 || name == self.name {
		return self, nil
	}
	u, err := user.Lookup(name)
	switch {
	case err != nil && named != "":
		return self, fmt.Errorf("there is no user %s", name)
	case err != nil:
		r.note("there is no user %s, for whom the files could be tried: they are tried for root", name)
		return self, nil
	case self.uid != 0:
		return self, fmt.Errorf("only root can check for another user: leave out --user, or run this as root")
	}
	who := identity{name: name}
	who.uid, err = strconv.Atoi(u.Uid)
	if err == nil {
		who.gid, err = strconv.Atoi(u.Gid)
	}
	groups, groupsErr := u.GroupIds()
	for _, g := range groups {
		if id, err := strconv.Atoi(g); err == nil {
			who.groups = append(who.groups, id)
		}
	}
	return who, errors.Join(err, groupsErr)
}

// machine compares the settings with what the kernel and other programs have.
func (r *report) machine(settings *config.Config, others config.Others) {
	host, err := hostnet.Open()
	if err != nil {
		r.error("%v: the links cannot be looked at", err)
		return
	}
	defer host.Close()
	r.links(settings, host)
	r.shared(settings, host)
	r.sendMachine(settings, host)
	for _, l := range settings.Links {
		r.others(l, others, runningPrograms("/proc"))
	}
}
