package engine

import (
	"crypto/sha1"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"
)

// Rate gives how many private operations a second d does on its own: ciphertexts, made beforehand, are decrypted in turn
// for that long by as many workers, each on a thread like an engine's. It is what key exchanges are measured against.
func Rate(d Decrypter, workers int, ciphertexts [][]byte, duration time.Duration) float64 {
	if len(ciphertexts) == 0 {
		return 0
	}
	return rate(workers, duration, func(i uint64) error {
		var key [KeyLen]byte
		d.Decrypt(&key, ciphertexts[i%uint64(len(ciphertexts))])
		return nil
	})
}

// SignRate is Rate for signatures: each operation signs another digest. It is what signed answers are measured against. It is
// 0 where o cannot sign.
func SignRate(o Operations, workers int, duration time.Duration) float64 {
	return rate(workers, duration, func(i uint64) error {
		var octets [8]byte
		binary.BigEndian.PutUint64(octets[:], i)
		_, err := o.Sign(sha1.Sum(octets[:]))
		return err
	})
}

// rate calls operation with 0, 1, 2 and so on, and gives how often a second it succeeded.
func rate(workers int, duration time.Duration, operation func(i uint64) error) float64 {
	var operations, next atomic.Uint64
	var wg sync.WaitGroup
	start := time.Now()
	end := start.Add(duration)
	for range max(workers, 1) {
		wg.Go(func() {
			onThread(func(bool) {
				for time.Now().Before(end) {
					if operation(next.Add(1)-1) != nil {
						return
					}
					operations.Add(1)
				}
			})
		})
	}
	wg.Wait()
	return float64(operations.Load()) / time.Since(start).Seconds()
}
