package engine

import (
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
	var operations, next atomic.Uint64
	var wg sync.WaitGroup
	start := time.Now()
	end := start.Add(duration)
	for range max(workers, 1) {
		wg.Go(func() {
			onThread(func(bool) {
				var key [KeyLen]byte
				for time.Now().Before(end) {
					d.Decrypt(&key, ciphertexts[(next.Add(1)-1)%uint64(len(ciphertexts))])
					operations.Add(1)
				}
			})
		})
	}
	wg.Wait()
	return float64(operations.Load()) / time.Since(start).Seconds()
}
