package forward

import (
	"errors"
	"fmt"
	"net/netip"
)

// Serve implements Forwarder.
func (f *routerTUN) Serve(b Binding) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return errClosed
	}
	if err := f.bound.checkServe(b); err != nil {
		return err
	}
	link, err := servedLink(f.nl, b)
	if err != nil {
		return err
	}
	b.Served = true
	s := servedNode{Binding: b, link: link, table: servedTable}
	old, was := f.bound.served[b.Home]
	f.table.setServed(b, f.engine.pathMTU(b.CareOf.As16()))
	f.bound.putServed(s)
	err = f.nl.SetRoute(defaultRoute(servedTable, f.index))
	if err == nil {
		err = lead(f.nl, s)
	}
	if err != nil {
		err = fmt.Errorf("serve %s for %s: %w", b.Home, b.CareOf, err)
	}
	if was {
		err = errors.Join(err, unlead(f.nl, old, s))
	}
	if err != nil {
		// Nothing is to be left: whoever asked takes it as ended.
		return errors.Join(err, f.unserve(b.Home))
	}
	f.ct.Forget(b.Home)
	return nil
}

// Unserve implements Forwarder.
func (f *routerTUN) Unserve(home netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.unserve(home)
}

func (f *routerTUN) unserve(home netip.Addr) error {
	if f.closed {
		return errClosed
	}
	s, was := f.bound.dropServed(home)
	if !was {
		return nil
	}
	failed := unlead(f.nl, s, servedNode{})
	f.table.removeServed(home)
	if len(f.bound.served) == 0 {
		failed = errors.Join(failed, f.nl.DeleteRoute(defaultRoute(servedTable, f.index)))
	}
	f.ct.Forget(home)
	if failed != nil {
		return fmt.Errorf("end serving %s: %w", home, failed)
	}
	return nil
}
