;; Attacks: `output_bytes`: a `wasi:cli/run@0.2.0` command that writes 20 MiB to standard output.
;; Input: standard input, not read. 5120 writes of 4096 bytes.
;; When the host says no: `unreachable` if a write fails.
;; Must happen: over (`output_bytes` below 20 971 520), `output_limit` or the output truncated and marked; at
;;   or above, completes with 20 971 520 bytes of `x`.
(component
  (import "wasi:io/error@0.2.0" (instance $io-error
    (export "error" (type (sub resource)))))
  (alias export $io-error "error" (type $error))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "error" (type $e (eq $error)))
    (export "output-stream" (type $o (sub resource)))
    (type $f (variant (case "last-operation-failed" (own $e)) (case "closed")))
    (export "stream-error" (type $failure (eq $f)))
    (export "[method]output-stream.blocking-write-and-flush" (func
      (param "self" (borrow $o)) (param "contents" (list u8)) (result (result (error $failure)))))))
  (alias export $streams "output-stream" (type $output-stream))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (export "output-stream" (type $o (eq $output-stream)))
    (export "get-stdout" (func (result (own $o))))))
  ;; include skeleton
  (core func $get-stdout (canon lower (func $stdout "get-stdout")))
  (core func $blocking-write-and-flush
    (canon lower (func $streams "[method]output-stream.blocking-write-and-flush") (memory $skeleton "memory")))
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "host" "get-stdout" (func $get-stdout (result i32)))
    (import "host" "blocking-write-and-flush" (func $blocking-write-and-flush (param i32 i32 i32 i32)))
    (func $run (export "run") (result i32) (local $writes i32) (local $stream i32)
      (memory.fill (i32.const 4096) (i32.const 0x78) (i32.const 4096))
      (local.set $stream (call $get-stdout))
      (loop $again
        (call $blocking-write-and-flush (local.get $stream) (i32.const 4096) (i32.const 4096) (i32.const 64))
        (if (i32.load8_u (i32.const 64)) (then unreachable))
        (local.set $writes (i32.add (local.get $writes) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $writes) (i32.const 5120))))
      (i32.const 0)))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance
      (export "get-stdout" (func $get-stdout))
      (export "blocking-write-and-flush" (func $blocking-write-and-flush))))))
  (func $run (result (result)) (canon lift (core func $attack "run")))
  (instance $exports (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $exports))
)
