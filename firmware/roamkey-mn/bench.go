package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/roamkey/roamkey/firmware/mobilenode"
	"github.com/roamkey/roamkey/firmware/nodeload"
)

func bench(ctx context.Context, args []string, out, errs io.Writer) error {
	cfg := nodeload.Config{Seed: uint16(rand.Uint32())}
	f, parse := flags("bench", "play many nodes, to load a router", errs)
	f.StringVar(&cfg.Interface, "interface", "", "network interface on the router's link (needed)")
	f.StringVar(&cfg.MoveTo, "move-to", "", "network interface on another router's link, to which all\nnodes move then (default: they stay)")
	f.IntVar(&cfg.Nodes, "nodes", 100, "how many nodes")
	f.IntVar(&cfg.Window, "window", 32, "how many exchanges are under way at one time")
	f.DurationVar(&cfg.Limit, "limit", time.Minute, "how long each phase may take")
	asJSON := f.Bool("json", false, "answer in JSON")
	f.Func("codepoints", "other numbers than the draft's, as for attach", func(text string) (err error) {
		cfg.CodePoints, cfg.NDCodePoints, err = mobilenode.ParseCodePoints(text)
		return err
	})
	if err := parse(args); err != nil {
		return err
	}
	cfg.Progress = func(p nodeload.Progress) {
		fmt.Fprintf(errs, "%s: %d of %d, %.0f a second\n", p.Phase, p.Done, p.Of, p.Rate)
	}
	r, err := nodeload.Run(ctx, cfg)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: run it as root (it needs CAP_NET_RAW)", err)
	}
	if err != nil {
		return err
	}
	if *asJSON {
		err = json.NewEncoder(out).Encode(summary(cfg, r))
	} else {
		_, err = io.WriteString(out, table(cfg, r))
	}
	if err != nil {
		return err
	}
	return missing(cfg, r)
}

// missing tells which nodes got less than all; nil if none did.
func missing(cfg nodeload.Config, r nodeload.Result) error {
	for _, step := range []struct {
		done int
		what string
		do   bool
	}{
		{r.Attached, "have an address: is there a router?", true},
		{r.Exchange.Done(), "agreed on a key: does the router speak LKE, and does it allow so many?", true},
		{r.Valid, "proved their address", true},
		{r.Moved, "have an address on the second link: is there a router?", cfg.MoveTo != ""},
		{r.Update.Done(), "are forwarded: can the first router be reached from the second link?", cfg.MoveTo != ""},
	} {
		if step.do && step.done < cfg.Nodes {
			return fmt.Errorf("only %d of %d nodes %s", step.done, cfg.Nodes, step.what)
		}
	}
	return nil
}

// table is the result for people.
func table(cfg nodeload.Config, r nodeload.Result) string {
	text := fmt.Sprintf("nodes            %d, of which %d attached and %d proved their address\n", cfg.Nodes, r.Attached, r.Valid)
	text += phaseText("key exchanges", r.Exchange)
	if cfg.MoveTo != "" {
		text += phaseText("binding updates", r.Update)
	}
	return text
}

func phaseText(name string, p nodeload.Phase) string {
	text := fmt.Sprintf("%-16s %d of %d in %.2f s: %.0f a second", name, p.Done(), p.Of, p.Took.Seconds(), p.Rate())
	if p.Late > 0 {
		text += fmt.Sprintf(", %d only when repeated", p.Late)
	}
	return text + fmt.Sprintf("\n%-16s p50 %s  p90 %s  p99 %s  max %s\n", "  answered in",
		ms(p.Percentile(50)), ms(p.Percentile(90)), ms(p.Percentile(99)), ms(p.Percentile(100)))
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond)) }

// phaseSummary and benchSummary are the result for programs. Latencies are in microseconds.
type phaseSummary struct {
	Of     int     `json:"of"`
	Done   int     `json:"done"`
	Late   int     `json:"late"`
	Rate   float64 `json:"rate"`
	P50    int64   `json:"p50_us"`
	P90    int64   `json:"p90_us"`
	P99    int64   `json:"p99_us"`
	Max    int64   `json:"max_us"`
	Millis int64   `json:"took_ms"`
}

type benchSummary struct {
	Nodes    int           `json:"nodes"`
	Attached int           `json:"attached"`
	Valid    int           `json:"valid"`
	Exchange phaseSummary  `json:"key_exchange"`
	Moved    int           `json:"moved"`
	Update   *phaseSummary `json:"binding_update,omitempty"`
}

func summary(cfg nodeload.Config, r nodeload.Result) benchSummary {
	s := benchSummary{Nodes: cfg.Nodes, Attached: r.Attached, Valid: r.Valid, Exchange: summarise(r.Exchange), Moved: r.Moved}
	if cfg.MoveTo != "" {
		u := summarise(r.Update)
		s.Update = &u
	}
	return s
}

func summarise(p nodeload.Phase) phaseSummary {
	return phaseSummary{
		Of: p.Of, Done: p.Done(), Late: p.Late, Rate: p.Rate(), Millis: p.Took.Milliseconds(),
		P50: p.Percentile(50).Microseconds(), P90: p.Percentile(90).Microseconds(),
		P99: p.Percentile(99).Microseconds(), Max: p.Percentile(100).Microseconds(),
	}
}
