package config

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// statements finds the option and list lines of the reference, commented or not.
func statements() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^(\t?)(#?)(config|option|list) (\w+)(?: '([^'\n]*)')?( # example)?$`)
}

// uncommented gives the reference with the # of its settings removed: the defaults, or with examples all of them.
func uncommented(examples bool) string {
	return statements().ReplaceAllStringFunc(Reference(), func(line string) string {
		m := statements().FindStringSubmatch(line)
		if m[6] != "" && !examples || m[3] == "config" && m[2] != "" && !examples {
			return ""
		}
		return strings.Replace(line, "#", "", 1)
	})
}

// withoutLines makes settings of two texts comparable.
func withoutLines(c *Config) *Config {
	for i := range c.Links {
		c.Links[i].Position.Line = 0
	}
	return c
}

func TestReferenceIsAFileOfSettings(t *testing.T) {
	for name, text := range map[string]string{"as it is": Reference(), "defaults": uncommented(false), "with examples": uncommented(true)} {
		c, problems := Parse("reference.conf", text)
		if len(problems) != 0 || len(c.Warnings) != 0 {
			t.Errorf("%s: %v %v", name, problems, c.Warnings)
		}
		if len(c.Links) != 1 || c.Links[0].Device != "br-lan" {
			t.Errorf("%s: links %v", name, c.Links)
		}
	}
	if c, _ := Parse("", uncommented(true)); len(c.Neighbors) != 1 || len(c.Links[0].RA.Prefixes) != 2 || len(c.Links[0].RA.Routes) != 1 {
		t.Errorf("the examples were not taken: %+v", c)
	}
}

func TestReferenceShowsTheDefaults(t *testing.T) {
	asItIs, _ := Parse("reference.conf", Reference())
	defaults, _ := Parse("reference.conf", uncommented(false))
	if !reflect.DeepEqual(withoutLines(asItIs), withoutLines(defaults)) {
		t.Errorf("the defaults of the code\n%+v\nare not those of the reference\n%+v", asItIs, defaults)
	}
	// A default that a table has is also shown as that text, and no example has one.
	shown := make(map[string]string)
	section := ""
	for _, m := range statements().FindAllStringSubmatch(Reference(), -1) {
		if m[3] == "config" {
			section = m[4]
			continue
		}
		if m[6] == "" {
			shown[section+"."+m[4]] = m[5]
		}
	}
	for name, o := range every() {
		if o.def != "" && shown[name] != o.def {
			t.Errorf("%s: default %q, the reference shows %q", name, o.def, shown[name])
		}
	}
}

func TestReferenceDescribesEveryOption(t *testing.T) {
	options := every()
	described := make(map[string]bool)
	section := ""
	for _, m := range statements().FindAllStringSubmatch(Reference(), -1) {
		if m[3] == "config" {
			section = m[4]
			continue
		}
		name := section + "." + m[4]
		described[name] = true
		o, known := options[name]
		if !known {
			t.Errorf("the reference describes %s, which the code does not know", name)
		}
		if list := m[3] == "list"; list != o.list {
			t.Errorf("%s: the reference says %s", name, m[3])
		}
	}
	for name := range options {
		if !described[name] {
			t.Errorf("%s is not described", name)
		}
	}
	if len(options) < 55 {
		t.Errorf("only %d options were compared", len(options))
	}
}

// TestReferenceFitsAConsole: 80 columns, a tab counted as 8.
func TestReferenceFitsAConsole(t *testing.T) {
	for i, line := range strings.Split(Reference(), "\n") {
		if n := len(strings.ReplaceAll(line, "\t", "        ")); n > 80 {
			t.Errorf("line %d has %d columns", i+1, n)
		}
	}
}

type shape struct {
	def  string
	list bool
}

// every gives all options of all tables as section.option.
func every() map[string]shape {
	all := make(map[string]shape)
	for _, t := range tables() {
		for _, f := range t.fields {
			all[t.typ+"."+f.name] = shape{f.def, f.list}
		}
	}
	return all
}
