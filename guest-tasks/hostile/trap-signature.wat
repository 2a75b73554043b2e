;; Attacks: nothing; traps with an indirect call with the wrong type.
;; Input: ignored.
;; When the host says no: -
;; Must happen: `trap`, code `bad_signature`, with `inner`, `outer` and `run` in the backtrace.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (table funcref (elem $other))
    (func $other (param f64))
    (func $inner (param $zero i32) (result i32)
      (call_indirect (result i32) (local.get $zero)))
    (func $outer (param $zero i32) (result i32)
      (i32.add (i32.const 1) (call $inner (local.get $zero))))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (call $outer (i32.const 0))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
