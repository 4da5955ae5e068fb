package hold

// queue is packets in the order in which they came. It takes memory as they come and gives it back as they go.
type queue struct {
	ring  [][]byte
	first int
	n     int
	cost  int // of all packets, against the bounds
}

const minRing = 8

func cost(packet int) int { return packet + PacketCost }

// octets is the length of all packets.
func (q *queue) octets() int { return q.cost - q.n*PacketCost }

// push puts a copy of b at the end.
func (q *queue) push(b []byte) {
	if q.n == len(q.ring) {
		q.resize(max(2*q.n, minRing))
	}
	kept := make([]byte, len(b))
	copy(kept, b)
	q.ring[(q.first+q.n)%len(q.ring)] = kept
	q.n++
	q.cost += cost(len(b))
}

// pop takes the first packet. There must be one.
func (q *queue) pop() []byte {
	b := q.ring[q.first]
	q.ring[q.first] = nil
	q.first = (q.first + 1) % len(q.ring)
	q.n--
	q.cost -= cost(len(b))
	switch {
	case q.n == 0:
		q.ring, q.first = nil, 0
	case len(q.ring) > minRing && q.n <= len(q.ring)/4:
		q.resize(len(q.ring) / 2)
	}
	return b
}

func (q *queue) resize(size int) {
	ring := make([][]byte, size)
	for i := range q.n {
		ring[i] = q.ring[(q.first+i)%len(q.ring)]
	}
	q.ring, q.first = ring, 0
}

// meter measures the rate at which packets arrive, over about the last second: RFC 5568 section 4.5 suggests recent activity
// over a sliding time window. It counts by spans of about 67 ms.
type meter struct {
	counts [meterSpans]uint32
	sum    uint32
	span   int64 // number of the newest one
	first  int64 // when the first packet came
	any    bool
}

const (
	meterSpans = 16
	spanShift  = 26 // a span is 1<<26 ns

	// minCovered is the least time that a rate is told from: a few packets that came together tell nothing of what the
	// node's link can take.
	minCovered = 50_000_000 // ns
)

func (m *meter) add(now int64) {
	if !m.any {
		m.any, m.first, m.span = true, now, now>>spanShift
	}
	m.slide(now)
	m.counts[m.span%meterSpans]++
	m.sum++
}

// slide forgets the spans that left the window.
func (m *meter) slide(now int64) {
	span := now >> spanShift
	for range min(span-m.span, meterSpans) {
		m.span++
		at := &m.counts[m.span%meterSpans]
		m.sum -= *at
		*at = 0
	}
	m.span = max(m.span, span)
}

// perSecond is the rate, in packets each second.
func (m *meter) perSecond(now int64) int64 {
	if !m.any {
		return 0
	}
	m.slide(now)
	covered := now - max(m.first, (m.span-meterSpans+1)<<spanShift)
	return int64(m.sum) * 1_000_000_000 / max(covered, minCovered)
}
