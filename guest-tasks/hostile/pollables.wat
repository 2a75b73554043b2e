;; Attacks: `handles`, by resources of the host.
;; Input: N pollables made and never dropped; empty = 2^64 - 1.
;; When the host says no: it never learns; the host stops it.
;; Must happen: over, `handle_limit`; under, completes and returns its input. wasmtime-wasi keeps two table
;;   entries for each: a `ResourceTable` of 1000 refused the 501st.
(component
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $p (sub resource)))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (export "pollable" (type $p (eq $pollable)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
  ;; include skeleton
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
  (core module $attack
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $n i64)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (loop $again
        (if (i64.ne (local.get $n) (i64.const 0)) (then
          (drop (call $subscribe (i64.const 3600000000000)))
          (local.set $n (i64.sub (local.get $n) (i64.const 1)))
          (br $again))))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance
      (export "subscribe" (func $subscribe))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
