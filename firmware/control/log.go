package control

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
)

// LogHandler writes one plain line for each record: the level, what happened, and key=value pairs. procd and systemd put a time
// before each line of their own, so that there is none here but on a terminal.
type LogHandler struct {
	out    *output
	level  slog.Leveler
	prefix string // what WithAttrs added, rendered
	group  string
}

// output is shared by all handlers that write to one place.
type output struct {
	mu    sync.Mutex
	w     io.Writer
	times bool
}

// NewLogHandler writes records of at least that level to w, with the time of day before each line if times.
func NewLogHandler(w io.Writer, level slog.Leveler, times bool) *LogHandler {
	return &LogHandler{out: &output{w: w, times: times}, level: level}
}

// Enabled implements slog.Handler.
func (h *LogHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

// Handle implements slog.Handler.
func (h *LogHandler) Handle(_ context.Context, r slog.Record) error {
	var b bytes.Buffer
	if h.out.times {
		b.WriteString(r.Time.Format("15:04:05.000 "))
	}
	b.WriteString(strings.ToLower(r.Level.String()))
	b.WriteString(": ")
	b.WriteString(oneLine(r.Message))
	b.WriteString(h.prefix)
	r.Attrs(func(a slog.Attr) bool {
		appendAttr(&b, h.group, a)
		return true
	})
	b.WriteByte('\n')
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	_, err := h.out.w.Write(b.Bytes())
	return err
}

// WithAttrs implements slog.Handler.
func (h *LogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var b bytes.Buffer
	b.WriteString(h.prefix)
	for _, a := range attrs {
		appendAttr(&b, h.group, a)
	}
	next := *h
	next.prefix = b.String()
	return &next
}

// WithGroup implements slog.Handler.
func (h *LogHandler) WithGroup(name string) slog.Handler {
	next := *h
	if name != "" {
		next.group += name + "."
	}
	return &next
}

func appendAttr(b *bytes.Buffer, group string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, inner := range v.Group() {
			appendAttr(b, group, inner)
		}
		return
	}
	if a.Key == "" {
		return
	}
	text := v.String()
	if v.Kind() == slog.KindTime {
		text = v.Time().Format(time.RFC3339)
	}
	// An error of several lines, such as that of a file of settings, is worth being read.
	if err, ok := v.Any().(error); ok && strings.Contains(err.Error(), "\n") {
		b.WriteString("\n  " + strings.ReplaceAll(printable(err.Error(), true), "\n", "\n  "))
		return
	}
	b.WriteByte(' ')
	b.WriteString(group + a.Key)
	b.WriteByte('=')
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == '"' || r == '=' || r == 127 }) {
		text = strconv.Quote(text)
	}
	b.WriteString(text)
}

// oneLine keeps a message from being taken for two.
func oneLine(s string) string { return printable(s, false) }

// printable escapes what would steer a terminal; line breaks only unless they may stay.
func printable(s string, breaks bool) string {
	bad := func(r rune) bool { return r < ' ' && !(breaks && r == '\n') || r == 127 }
	if !strings.ContainsFunc(s, bad) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if bad(r) {
			q := strconv.QuoteRune(r)
			b.WriteString(q[1 : len(q)-1])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
