;; Attacks: `table_elements`, by one `table.grow`.
;; Input: N elements; empty = 2^32 - 1.
;; When the host says no: `unreachable`.
;; Must happen: over, `table_limit`; under, completes and returns its input.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (table $t 0 funcref)
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $n i64)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (if (i64.gt_u (local.get $n) (i64.const 0xffffffff)) (then (local.set $n (i64.const 0xffffffff))))
      (if (i32.eq (i32.const -1) (table.grow $t (ref.null func) (i32.wrap_i64 (local.get $n))))
        (then unreachable))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
