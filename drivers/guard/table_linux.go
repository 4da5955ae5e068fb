package guard

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// chainPriority is that of "raw": before the rules of a firewall.
	chainPriority = -300

	// settle is how long the table is left alone after somebody else changed the rules: one change seldom comes alone.
	settle = 5 * time.Millisecond

	// recheck is how often the table is looked at where the kernel does not tell about changes.
	recheck = time.Second
)

// chain says where a packet meets a rule.
//
// What came in meets it at the input hook, before the kernel reads extension headers other than hop-by-hop options. Prerouting
// would be too early: with br_netfilter the frames of a bridge pass that hook on their way through the bridge, before
// a packet socket on the bridge has seen them.
type chain uint8

// Chains, in the order in which the kernel lists them: that in which they are made.
const (
	input chain = iota
	output
	chainCount
)

func (c chain) String() string {
	if c == output {
		return "output"
	}
	return "input"
}

func (c chain) hook() uint32 {
	if c == output {
		return unix.NF_INET_LOCAL_OUT
	}
	return unix.NF_INET_LOCAL_IN
}

// table is one table of ours. It watches itself.
type table struct {
	name    string
	nft     *nft
	monitor *netlink.Conn // nil where the kernel does not tell about changes

	mu     sync.Mutex
	sets   []*set
	rules  []rule
	seen   []uint64 // of each rule: what it has counted since the table was made last
	before map[string]uint64
	closed bool

	restored, failed atomic.Uint64
	kick             chan struct{}
	done             chan struct{}
	wg               sync.WaitGroup
}

// watch begins to keep the table as it should be. The first transaction has been carried out.
func (t *table) watch() {
	t.kick, t.done = make(chan struct{}, 1), make(chan struct{})
	if conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil); err == nil {
		if conn.JoinGroup(unix.NFNLGRP_NFTABLES) == nil {
			t.monitor = conn
			t.wg.Add(1)
			go t.listen()
		} else {
			conn.Close()
		}
	}
	t.wg.Add(1)
	go t.keep()
}

// listen hears of transactions that others made.
func (t *table) listen() {
	defer t.wg.Done()
	own := t.nft.conn.PID()
	for {
		messages, err := t.monitor.Receive()
		foreign := err != nil // perhaps only that messages were lost
		for _, m := range messages {
			if m.Header.Type == messageType(unix.NFT_MSG_NEWGEN) && m.Header.PID != own {
				foreign = true
			}
		}
		select {
		case <-t.done:
			return
		default:
		}
		if !foreign {
			continue
		}
		select {
		case t.kick <- struct{}{}:
		default:
		}
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			time.Sleep(settle) // whatever it is, it must not become a busy loop
		}
	}
}

func (t *table) keep() {
	defer t.wg.Done()
	var tick <-chan time.Time
	if t.monitor == nil {
		ticker := time.NewTicker(recheck)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		select {
		case <-t.done:
			return
		case <-t.kick:
			select {
			case <-t.done:
				return
			case <-time.After(settle):
			}
		case <-tick:
		}
		if t.present() {
			continue
		}
		if err := t.restore(); err != nil {
			t.failed.Add(1)
		}
	}
}

// make replaces the table in the kernel, whatever it is like, by what it should be, with these rules, in one transaction.
func (t *table) make(rules []rule) error {
	var tx transaction
	name := func(ae *netlink.AttributeEncoder) { ae.String(unix.NFTA_TABLE_NAME, t.name) }
	tx.add(unix.NFT_MSG_NEWTABLE, netlink.Create, name)
	tx.add(unix.NFT_MSG_DELTABLE, 0, name)
	tx.add(unix.NFT_MSG_NEWTABLE, netlink.Create, name)
	for i, s := range t.sets {
		s.create(&tx, t.name, uint32(i+1))
	}
	for c := range chainCount {
		tx.add(unix.NFT_MSG_NEWCHAIN, netlink.Create, func(ae *netlink.AttributeEncoder) {
			ae.String(unix.NFTA_CHAIN_TABLE, t.name)
			ae.String(unix.NFTA_CHAIN_NAME, c.String())
			ae.Nested(unix.NFTA_CHAIN_HOOK, func(hook *netlink.AttributeEncoder) error {
				hook.Uint32(unix.NFTA_HOOK_HOOKNUM, c.hook())
				hook.Int32(unix.NFTA_HOOK_PRIORITY, chainPriority)
				return nil
			})
			ae.Uint32(unix.NFTA_CHAIN_POLICY, 1) // NF_ACCEPT
			ae.String(unix.NFTA_CHAIN_TYPE, "filter")
		})
	}
	// What the kernel counted is told apart by the order of its list.
	rules = slices.Clone(rules)
	slices.SortStableFunc(rules, func(a, b rule) int { return int(a.chain) - int(b.chain) })
	for _, r := range rules {
		tx.add(unix.NFT_MSG_NEWRULE, netlink.Create|netlink.Append, func(ae *netlink.AttributeEncoder) {
			ae.String(unix.NFTA_RULE_TABLE, t.name)
			ae.String(unix.NFTA_RULE_CHAIN, r.chain.String())
			r.encode(ae)
		})
	}
	if err := t.nft.commit(&tx); err != nil {
		return err
	}
	if t.before == nil {
		t.before = make(map[string]uint64)
	}
	for i, n := range t.seen {
		t.before[t.rules[i].name] += n
	}
	t.rules, t.seen = rules, make([]uint64, len(rules))
	return nil
}

// look notes what the rules have counted, and reports whether they are all there.
func (t *table) look() bool {
	counts, err := t.read()
	if err != nil || len(counts) != len(t.rules) {
		return false
	}
	copy(t.seen, counts)
	return true
}

// remove deletes the table. That there is none is no error.
func (c *nft) remove(table string) error {
	var tx transaction
	tx.add(unix.NFT_MSG_DELTABLE, 0, func(ae *netlink.AttributeEncoder) { ae.String(unix.NFTA_TABLE_NAME, table) })
	if err := c.commit(&tx); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove table ip6 %s: %w", table, err)
	}
	return nil
}

// exists reports whether the kernel has a table of that name.
func (c *nft) exists(table string) (bool, error) {
	replies, err := c.dump(unix.NFT_MSG_GETTABLE, func(*netlink.AttributeEncoder) {})
	if err != nil {
		return false, explain(err)
	}
	found := false
	for _, b := range replies {
		err = errors.Join(err, decode(b, func(ad *netlink.AttributeDecoder) {
			if ad.Type() == unix.NFTA_TABLE_NAME && ad.String() == table {
				found = true
			}
		}))
	}
	return found, err
}

// read lists what the rules counted; nil where the table or the chain is not there.
func (t *table) read() ([]uint64, error) {
	replies, err := t.nft.dump(unix.NFT_MSG_GETRULE, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_RULE_TABLE, t.name)
	})
	if err != nil {
		return nil, err
	}
	var all []uint64
	for _, b := range replies {
		ours := false
		err := decode(b, func(ad *netlink.AttributeDecoder) {
			if ad.Type() == unix.NFTA_RULE_TABLE {
				ours = ad.String() == t.name
			}
		})
		if err != nil || !ours { // kernels before 4.20 do not filter
			continue
		}
		n, err := parseRule(b)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}

func (t *table) present() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return true
	}
	if !t.look() {
		return false
	}
	for _, s := range t.sets {
		have, err := s.read(t.nft, t.name)
		if err != nil || !maps.Equal(have, s.elements) {
			return false
		}
	}
	return true
}

func (t *table) restore() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	if err := t.make(t.rules); err != nil {
		return fmt.Errorf("restore table ip6 %s: %w", t.name, err)
	}
	t.restored.Add(1)
	return nil
}

// counters yields the sums of the rules of each name, in the order of the rules.
func (t *table) counters(yield func(name string, value uint64)) {
	t.mu.Lock()
	if !t.closed {
		t.look()
	}
	sums := maps.Clone(t.before)
	var order []string
	for i, r := range t.rules {
		if len(order) == 0 || order[len(order)-1] != r.name {
			order = append(order, r.name)
		}
		sums[r.name] += t.seen[i]
	}
	t.mu.Unlock()
	for _, name := range order {
		yield(name, sums[name])
	}
	yield("table_restored", t.restored.Load())
	yield("table_failed", t.failed.Load())
}

func (t *table) close(leave bool) error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	t.mu.Unlock()
	close(t.done)
	if t.monitor != nil {
		_ = t.monitor.SetDeadline(time.Unix(1, 0)) // wakes the reader
	}
	t.wg.Wait()
	var failed error
	if t.monitor != nil {
		failed = t.monitor.Close()
	}
	if !leave {
		failed = errors.Join(failed, t.nft.remove(t.name))
	}
	return errors.Join(failed, t.nft.Close())
}
