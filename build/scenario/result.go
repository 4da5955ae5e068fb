package scenario

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Result is what one run came to, in one line.
type Result struct {
	Protocol  Protocol
	Sent      int // packets that the correspondent sent
	Lost      int // of these, never received
	Gap       time.Duration
	Router    time.Duration // from (Fast) Binding Update read to forwarding in place, by the old router; 0 if it is not told
	Forwarded int           // packets that reached the node through the old router's tunnel after the move

	// These are not in the line.
	Held      int // packets that the new router kept for the node, at one time
	Reordered int // packets that arrived after one that was sent later
}

// String is the result line. Times are rounded up, so that a nonzero one is never shown as zero.
func (r Result) String() string {
	return fmt.Sprintf("result: protocol=%s sent=%d lost=%d gap_ms=%d router_us=%d forwarded=%d",
		r.Protocol, r.Sent, r.Lost, ceil(r.Gap, time.Millisecond), ceil(r.Router, time.Microsecond), r.Forwarded)
}

func ceil(d, unit time.Duration) int64 { return int64((d + unit - 1) / unit) }

// ParseResult reads a result line. It wants every field once, and no other.
func ParseResult(line string) (Result, error) {
	var r Result
	fields := strings.Fields(line)
	if len(fields) != 7 || fields[0] != "result:" {
		return r, fmt.Errorf("not a result line: %q", line)
	}
	for i, name := range []string{"protocol", "sent", "lost", "gap_ms", "router_us", "forwarded"} {
		key, value, _ := strings.Cut(fields[i+1], "=")
		if key != name {
			return r, fmt.Errorf("result line has %q where %s= belongs", fields[i+1], name)
		}
		if name == "protocol" {
			r.Protocol = Protocol(value)
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			return r, fmt.Errorf("result line: %s=%q is not a count", name, value)
		}
		switch name {
		case "sent":
			r.Sent = n
		case "lost":
			r.Lost = n
		case "gap_ms":
			r.Gap = time.Duration(n) * time.Millisecond
		case "router_us":
			r.Router = time.Duration(n) * time.Microsecond
		case "forwarded":
			r.Forwarded = n
		}
	}
	return r, nil
}

// Check tells what is wrong with a run; nil if it shows what it has to. limit is what the old router may take from Binding
// Update to forwarding with LKE.
func (a *Analysis) Check(limit time.Duration) error {
	r := a.Result
	if r.Sent == 0 {
		return fmt.Errorf("the correspondent sent nothing")
	}
	if r.Protocol == None {
		if r.Forwarded != 0 || r.Lost == 0 {
			return fmt.Errorf("%d packets were forwarded and %d lost: the comparison shows nothing", r.Forwarded, r.Lost)
		}
		return nil
	}
	switch {
	case r.Forwarded == 0:
		return fmt.Errorf("no packet reached the node through the old router after the move (forwarded=0)")
	case r.Router == 0:
		return fmt.Errorf("the old router did not say how long it took to forward")
	}
	switch r.Protocol {
	case LKE:
		if r.Router >= limit {
			return fmt.Errorf("the old router took %v from Binding Update to forwarding, the limit is %v", r.Router, limit)
		}
	case FMIP:
		return a.checkFast(0)
	case FMIPEarly:
		if a.Acked {
			return fmt.Errorf("the node did not leave early: it had the old router's answer")
		}
		return a.checkFast(a.InFlight)
	}
	return nil
}

// checkFast looks at a fast handover, which may lose no more than was on its way in the old cell.
func (a *Analysis) checkFast(inFlight int) error {
	switch {
	case a.Loss.Lost > inFlight:
		return fmt.Errorf("%d packets were lost, and %d were on their way in the old cell when the node left", a.Loss.Lost, inFlight)
	case a.Result.Held == 0:
		return fmt.Errorf("the new router kept no packet")
	case a.Queue.Overtaken > 0:
		return fmt.Errorf("the new router sent %d packets before others that had come earlier", a.Queue.Overtaken)
	}
	return nil
}
