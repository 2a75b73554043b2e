;; Attacks: `handles`, by the asynchronous component model's own kind: waitable sets.
;; Input: N sets made, and all kept; empty = 2^64 - 1.
;; When the host says no: it never learns; the host stops it.
;; Must happen: over, `handle_limit`; under, completes and returns its input.
(component
  ;; include skeleton
  (core func $set-new (canon waitable-set.new))
  (core module $attack
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "async" "set-new" (func $set-new (result i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $n i64)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (block $done
        (loop $next
          (br_if $done (i64.eqz (local.get $n)))
          (local.set $n (i64.sub (local.get $n) (i64.const 1)))
          (drop (call $set-new))
          (br $next)))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack
    (with "skeleton" (instance $skeleton))
    (with "async" (instance (export "set-new" (func $set-new))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
