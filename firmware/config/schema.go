package config

import (
	"maps"
	"slices"
)

// field is one option of a section: the one place that knows its name, its default and how it is read.
type field struct {
	name string
	list bool   // may be there several times
	def  string // as in a file; empty where there is none or where it follows from other options
	set  func(value string) *fault
}

// table is all that is known of one type of section, bound to the settings into which it is read.
type table struct {
	typ    string
	fields []field

	// aliases are names that other programs have for an option.
	aliases map[string]string
}

func (t table) names() []string {
	names := make([]string, len(t.fields))
	for i, f := range t.fields {
		names[i] = f.name
	}
	return names
}

func (t table) field(name string) *field {
	for i := range t.fields {
		if t.fields[i].name == name {
			return &t.fields[i]
		}
	}
	return nil
}

// reading is the state of reading one file.
type reading struct {
	file     string
	problems Problems
	warnings Problems
}

// place is one section while it is read; it knows on which line each option stands.
type place struct {
	r     *reading
	where string
	line  int
	lines map[string]int   // where each option stands first
	taken map[string][]int // where each value stands that could be read
}

// given reports whether the file sets the option.
func (p *place) given(option string) bool { return p.lines[option] != 0 }

// at is where the option stands; the section, where it is not set.
func (p *place) at(option string) Position {
	if line := p.lines[option]; line != 0 {
		return Position{p.r.file, line}
	}
	return Position{p.r.file, p.line}
}

func (p *place) problem(option, what, fix string) Problem {
	where := p.where
	if option != "" {
		where += ", option " + option
	}
	return Problem{p.at(option), where, what, fix}
}

// failAt reports an error of the value with that index in a list of those that could be read.
func (p *place) failAt(option string, index int, what, fix string) {
	problem := p.problem(option, what, fix)
	problem.Line = p.taken[option][index]
	p.r.problems = append(p.r.problems, problem)
}

// fail reports an error that shows when all options are known.
func (p *place) fail(option, what, fix string) {
	p.r.problems = append(p.r.problems, p.problem(option, what, fix))
}

func (p *place) warn(option, what, fix string) {
	p.r.warnings = append(p.r.warnings, p.problem(option, what, fix))
}

// read gives the settings of one section: defaults first, then what the file says. where is how problems name it.
func (t table) read(r *reading, s Section, where string) *place {
	t.defaults()
	p := &place{r: r, where: where, line: s.Line, lines: make(map[string]int), taken: make(map[string][]int)}
	for _, o := range s.Options {
		f := t.field(o.Name)
		if f == nil {
			r.problems = append(r.problems, Problem{Position{r.file, o.Line}, p.where + ", option " + o.Name, "there is no such option", t.unknown(o.Name)})
			if alias := t.aliases[o.Name]; alias != "" && p.lines[alias] == 0 {
				p.lines[alias] = o.Line // it is meant to be there
			}
			continue
		}
		first := p.lines[o.Name]
		if first == 0 {
			p.lines[o.Name] = o.Line
		}
		bad := f.check(o, first)
		if bad == nil {
			bad = f.set(o.Value)
		}
		if bad != nil {
			r.problems = append(r.problems, Problem{Position{r.file, o.Line}, p.where + ", option " + o.Name, bad.what, bad.fix})
			continue
		}
		p.taken[o.Name] = append(p.taken[o.Name], o.Line)
	}
	return p
}

// unknown says what to do about an option that there is not.
func (t table) unknown(name string) string {
	if alias := t.aliases[name]; alias != "" {
		return "its name here is " + alias
	}
	if section := elsewhere(name, t.typ); section != "" {
		return "it belongs under " + section
	}
	if near := nearest(name, t.names()); near != "" {
		return "did you mean " + near + "?"
	}
	return "leave it out; roamkeyd help options tells of all that there are"
}

// check looks at the form of an option, before its value is read.
func (f *field) check(o Option, first int) *fault {
	switch {
	case !f.list && o.List:
		return &fault{"it takes one value, not a list", "write option " + f.name + " '" + "VALUE'"}
	case !f.list && first != 0:
		return &fault{"it is there twice, first in line " + itoa(first), "keep one of the two"}
	}
	return nil
}

func (t table) defaults() {
	for _, f := range t.fields {
		if f.def == "" {
			continue
		}
		if bad := f.set(f.def); bad != nil {
			panic("default of " + t.typ + " " + f.name + ": " + bad.what) // a test reads every table
		}
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
