;; Attacks: the host's own memory: one `write-zeroes`, for which wasmtime-wasi allocates N bytes if
;;   `check-write` allows N.
;; Input: N zero bytes to stderr; empty = 2^64 - 1.
;; When the host says no: returns the error `write failed` if the call returns one.
;; Must happen: over what `check-write` allows, a trap (wasmtime-wasi's answer) without the allocation, or
;;   truncated as `log` is; under, returns its input.
(component
  (import "wasi:io/error@0.2.0" (instance $io-error
    (export "error" (type (sub resource)))))
  (alias export $io-error "error" (type $error))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "error" (type $e (eq $error)))
    (export "output-stream" (type $o (sub resource)))
    (type $f (variant (case "last-operation-failed" (own $e)) (case "closed")))
    (export "stream-error" (type $failure (eq $f)))
    (export "[method]output-stream.write-zeroes" (func
      (param "self" (borrow $o)) (param "len" u64) (result (result (error $failure)))))))
  (alias export $streams "output-stream" (type $output-stream))
  (import "wasi:cli/stderr@0.2.0" (instance $stderr
    (export "output-stream" (type $o (eq $output-stream)))
    (export "get-stderr" (func (result (own $o))))))
  ;; include skeleton
  (core func $get-stderr (canon lower (func $stderr "get-stderr")))
  (core func $write-zeroes
    (canon lower (func $streams "[method]output-stream.write-zeroes") (memory $skeleton "memory")))
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "get-stderr" (func $get-stderr (result i32)))
    (import "host" "write-zeroes" (func $write-zeroes (param i32 i64 i32)))
    (data (i32.const 128) "write failed")
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (call $write-zeroes (call $get-stderr) (call $number (local.get $at) (local.get $len)) (i32.const 64))
      (if (i32.load8_u (i32.const 64)) (then
        (return (call $answer (i32.const 1) (i32.const 128) (i32.const 12)))))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance
      (export "get-stderr" (func $get-stderr))
      (export "write-zeroes" (func $write-zeroes))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
