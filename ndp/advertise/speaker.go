package advertise

import "time"

// Conflict is a set of contradictions between two routers' advertisements (RFC 4861 section 6.2.7).
type Conflict uint16

// Problem is one thing wrong in a Config.
type Problem struct {
	Field string // path of the field, as in Prefixes[2].Preferred
	Wrong string // what is wrong, and where that is written
	Right string // what would be right
}

// Error joins the parts.
func (p Problem) Error() string { return p.Field + ": " + p.Wrong + "; " + p.Right }

// Complete gives c with all defaults filled in, and what is wrong with it. Rand is not looked at.
func (c Config) Complete() (Config, []Problem) { return c, nil }

// Warnings gives what is allowed in a complete Config but seldom wanted.
func (c Config) Warnings() []Problem { return nil }

// Speaker is the state machine of one link.
type Speaker struct {
	cfg Config
}

// NewSpeaker gives a silent speaker; InStart makes it advertise. The error joins the Problems of cfg.
func NewSpeaker(cfg Config) (*Speaker, error) { return &Speaker{cfg: cfg}, nil }

// Restore tells of prefixes that an earlier process advertised. To be called before InStart.
func (s *Speaker) Restore(now time.Time, records []Record) {}

// Records yields the prefixes that hosts may hold, to be kept over a restart. The set changes by Reconfigure and sending.
func (s *Speaker) Records(yield func(Record) bool) {}

// Step handles one input that arrived at now and gives what to do, in order. A packet that is dropped costs no allocation.
func (s *Speaker) Step(now time.Time, in Input) []Effect { return nil }

// Deadline is when Step wants InTick next; zero if never.
func (s *Speaker) Deadline() time.Time { return time.Time{} }

// Reconfigure replaces the configuration; an invalid one is refused with the joined Problems and changes nothing.
func (s *Speaker) Reconfigure(now time.Time, cfg Config) ([]Effect, error) { return nil, nil }

// Phase says whether the speaker advertises; Silent after InStop means that all is said.
func (s *Speaker) Phase() Phase { return Silent }

// Config is the complete configuration in force.
func (s *Speaker) Config() Config { return s.cfg }

// Others yields the other routers heard on the link.
func (s *Speaker) Others(yield func(Other) bool) {}

// Counters yields all counters in a stable order.
func (s *Speaker) Counters(yield func(name string, value uint64)) {}
