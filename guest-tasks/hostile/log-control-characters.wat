;; Attacks: logs and terminals: ANSI escapes, CR, LF, NUL and a bell written to stderr.
;; Input: ignored.
;; When the host says no: returns the error `write failed`.
;; Must happen: completes; wherever the log is shown the bytes are escaped, and a forged line is no record of
;;   its own.
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
  (import "wasi:cli/stderr@0.2.0" (instance $stderr
    (export "output-stream" (type $o (eq $output-stream)))
    (export "get-stderr" (func (result (own $o))))))
  ;; include skeleton
  (core func $get-stderr (canon lower (func $stderr "get-stderr")))
  (core func $blocking-write-and-flush
    (canon lower (func $streams "[method]output-stream.blocking-write-and-flush") (memory $skeleton "memory")))
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "get-stderr" (func $get-stderr (result i32)))
    (import "host" "blocking-write-and-flush" (func $blocking-write-and-flush (param i32 i32 i32 i32)))
    (data (i32.const 128) "write failed")
    (data (i32.const 192) "\1b[2J\1b[31mred\1b[0m\0d\0alevel=error forged=yes\00\07end")
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (call $blocking-write-and-flush (call $get-stderr) (i32.const 192) (i32.const 45) (i32.const 64))
      (if (i32.load8_u (i32.const 64)) (then
        (return (call $answer (i32.const 1) (i32.const 128) (i32.const 12)))))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance
      (export "get-stderr" (func $get-stderr))
      (export "blocking-write-and-flush" (func $blocking-write-and-flush))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
