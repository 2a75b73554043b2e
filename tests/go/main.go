// A program that shows where Go's heap and the WASI adapter are in each other's way: it fills the heap, calls
// into the adapter between, and looks whether everything is as it was.
package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"
)

func main() {
	switch os.Args[1] {
	case "exit":
		fmt.Println("before the exit")
		os.Exit(3)
	case "panic":
		var none map[string]int
		none["key"] = 1
	case "work":
		work()
	}
}

func work() {
	blocks := fill()
	input, err := io.ReadAll(os.Stdin)
	check(err)
	fmt.Printf("read %x\n", sha256.Sum256(input))
	collect()
	fmt.Println("squares", squares(1000))
	fmt.Println("counted", count(100_000))
	_, err = rand.Read(make([]byte, 60_000))
	check(err)
	_, err = os.ReadFile("/no/such/file")
	fmt.Println("missing", err != nil, os.Args[2:], os.Getenv("GREETING"))
	fmt.Println("damaged", damaged(blocks))
}

// fill takes 100 MB, and calls into the adapter between.
func fill() [][]byte {
	var blocks [][]byte
	for i := range 1000 {
		block := make([]byte, 100_000)
		for j := range block {
			block[j] = byte(i + j)
		}
		blocks = append(blocks, block)
		if i%100 == 0 {
			fmt.Fprint(os.Stderr, ".")
			time.Sleep(time.Millisecond)
		}
	}
	return blocks
}

func damaged(blocks [][]byte) (bytes int) {
	for i, block := range blocks {
		for j := range block {
			if block[j] != byte(i+j) {
				bytes++
			}
		}
	}
	return bytes
}

// collect makes 300 MB of garbage.
func collect() {
	for i := range 300 {
		garbage := make([]byte, 1_000_000)
		garbage[i] = 1
		if i%100 == 0 {
			runtime.GC()
		}
	}
}

func squares(most int) (sum int) {
	work, done := make(chan int), make(chan int)
	for range 20 {
		go func() {
			for n := range work {
				time.Sleep(time.Microsecond)
				done <- n * n
			}
		}()
	}
	go func() {
		for n := range most {
			work <- n
		}
		close(work)
	}()
	for range most {
		sum += <-done
	}
	return sum
}

func count(keys int) int {
	counts := map[string]int{}
	for i := range 3 * keys {
		counts[fmt.Sprint("key", i%keys)]++
	}
	text, err := json.Marshal(counts)
	check(err)
	var back map[string]int
	check(json.Unmarshal(text, &back))
	return len(back) * back["key7"]
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
