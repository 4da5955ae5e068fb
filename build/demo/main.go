// Command demo shows handovers on real kernels: by plain Mobile IPv6, with Local Key Exchange, and as a fast handover with a
// handover key by SEND, whose node leaves in time or too early. For each it makes a small internet of network namespaces,
// starts the real programs in it, moves a mobile node from one access router to another while packets are sent to it, and
// says what became of them. The last lines are the results, one for each.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/scenario"
)

func main() {
	if homeAgent, ok := scenario.HomeAgentRole(); ok {
		os.Exit(homeAgent())
	}
	code, done, err := netlab.Enter()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	case done:
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo is what the flags say, and what the runs gave.
type demo struct {
	out     string // directory
	options scenario.Options
	moves   []scenario.Protocol
	crash   bool
	limit   time.Duration // of the old router's share, with LKE
	text    io.Writer
	runs    []played
}

// played is one run of the demo.
type played struct {
	*scenario.Report
	scenario.Analysis
}

func run(ctx context.Context, args []string, text, errs io.Writer) error {
	d := demo{text: text, moves: scenario.Protocols()}
	o := &d.options
	f := flag.NewFlagSet("demo", flag.ContinueOnError)
	f.SetOutput(errs)
	f.StringVar(&o.Programs.Roamkeyd, "roamkeyd", "bin/roamkeyd", "path of roamkeyd")
	f.StringVar(&o.Programs.RoamkeyMN, "roamkey-mn", "bin/roamkey-mn", "path of roamkey-mn")
	f.StringVar(&o.Programs.Tunnel, "tunnel", "auto", "who tunnels: kernel, tun, or auto")
	f.StringVar(&d.out, "out", "out", "directory for demo.svg, demo.pcap and the programs' logs")
	f.Func("moves", "which to show, with commas between: none, lke, fmip, fmip-early\n(default: all)", func(text string) error {
		d.moves = nil
		for name := range strings.SplitSeq(text, ",") {
			p := scenario.Protocol(name)
			if !slices.Contains(scenario.Protocols(), p) {
				return fmt.Errorf("there is no move %q", name)
			}
			d.moves = append(d.moves, p)
		}
		return nil
	})
	f.BoolVar(&d.crash, "crash", false, "show instead what is lost when the old router's daemon is killed in mid-flow")
	f.DurationVar(&d.limit, "router-limit", time.Millisecond, "most that the old router may take; emulated machines need more")
	f.IntVar(&o.Rate, "rate", 1000, "packets a second from the correspondent, 1 to 5000")
	f.DurationVar(&o.Radio, "radio", 50*time.Millisecond, "how long the radio is between two cells, at most 1s")
	f.DurationVar(&o.Home, "home", 75*time.Millisecond, "how far away the node's home agent is, one way, at most 1s; 0: it has\nnone, and packets go to its address at the old router")
	f.DurationVar(&o.Apart, "apart", 5*time.Millisecond, "how far apart the two routers are, one way, at most 100ms")
	f.DurationVar(&o.Before, "before", 500*time.Millisecond, "how long packets are sent before the move, at most 5s")
	f.DurationVar(&o.After, "after", 1200*time.Millisecond, "how long packets are sent after the move, at most 5s")
	limit := f.Duration("limit", 100*time.Second, "most that all together may take; some twenty seconds are usual")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 || o.Rate < 1 || o.Rate > 5000 || o.Radio < 0 || o.Radio > time.Second || o.Home < 0 || o.Home > time.Second ||
		o.Apart < 0 || o.Apart > 100*time.Millisecond ||
		o.Before < 0 || o.Before > 5*time.Second || o.After < o.Radio || o.After > 5*time.Second {
		f.Usage()
		return errors.New("the arguments make no sense")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, *limit, fmt.Errorf("not done after %v: something hangs, see the logs in %s", *limit, d.out))
	defer cancel()
	err := d.run(ctx)
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, ctx.Err()) {
		return cause
	}
	return err
}

func (d *demo) run(ctx context.Context) error {
	p := &d.options.Programs
	for _, path := range []*string{&p.Roamkeyd, &p.RoamkeyMN} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		if _, err := os.Stat(absolute); err != nil {
			return fmt.Errorf("%w: build the programs first (make), or say where they are", err)
		}
		*path = absolute
	}
	if err := os.MkdirAll(d.out, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "roamkey")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	p.Work, p.Logs = work, d.out
	if err := scenario.Check(p.Tunnel); err != nil {
		return err
	}
	if d.crash {
		return d.showCrash(ctx)
	}
	d.headline()
	for i, protocol := range d.moves {
		if err := d.play(ctx, i+1, protocol); err != nil {
			return err
		}
		why := d.spoilt(d.runs[i])
		if why == "" {
			continue
		}
		fmt.Fprintf(d.text, "\n   %s: once more.\n", why)
		d.runs = d.runs[:i]
		if err := d.play(ctx, i+1, protocol); err != nil {
			return err
		}
	}
	d.compare()
	if err := errors.Join(d.writeCapture(), d.writePicture()); err != nil {
		return err
	}
	d.files()
	for _, r := range d.runs {
		fmt.Fprintln(d.text, r.Result)
	}
	return d.verdict()
}

// spoilt tells what came in between, where a run may be played once more: whatever else this machine does at that moment counts,
// too.
func (d *demo) spoilt(r played) string {
	switch r.Options.Protocol {
	case scenario.LKE: // one look at one packet
		if r.Result.Forwarded > 0 && r.Result.Router >= d.limit {
			return fmt.Sprintf("The old router took %v, over the limit of %v", r.Result.Router, d.limit)
		}
	case scenario.FMIPEarly:
		if r.Acked {
			return "The node did not leave early enough"
		}
	}
	return ""
}

func (d *demo) play(ctx context.Context, number int, protocol scenario.Protocol) error {
	o := d.options
	o.Protocol = protocol
	o.Tell = func(text string) { fmt.Fprintf(d.text, "   %s\n", text) }
	d.title(number, protocol)
	r, err := scenario.Run(ctx, o)
	if err != nil {
		return fmt.Errorf("%s: %w", protocol, err)
	}
	d.runs = append(d.runs, played{r, r.Analyse()})
	d.timeline(d.runs[len(d.runs)-1])
	return nil
}

// verdict tells whether the demo shows what it has to.
func (d *demo) verdict() error {
	for _, r := range d.runs {
		if err := r.Check(d.limit); err != nil {
			return fmt.Errorf("%s: %w; the logs are in %s", r.Options.Protocol, err, d.out)
		}
	}
	return nil
}
