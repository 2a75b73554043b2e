;; Attacks: `memory_bytes` as a sum: 12 core instances, each with a memory of its own, grow in turn.
;; Input: N pages (64 KiB) of all 13 memories together, the skeleton's one page among them; empty = until
;;   refused.
;; When the host says no: `unreachable` at the first refusal.
;; Must happen: over, `memory_limit` although no memory is near it alone; under, completes and returns its
;;   input. N pages exactly at the limit pass.
(component
  ;; include skeleton
  (core module $cell
    (memory 0)
    (func $grow (export "grow") (result i32)
      (memory.grow (i32.const 1))))
  (core instance $c0 (instantiate $cell))
  (core instance $c1 (instantiate $cell))
  (core instance $c2 (instantiate $cell))
  (core instance $c3 (instantiate $cell))
  (core instance $c4 (instantiate $cell))
  (core instance $c5 (instantiate $cell))
  (core instance $c6 (instantiate $cell))
  (core instance $c7 (instantiate $cell))
  (core instance $c8 (instantiate $cell))
  (core instance $c9 (instantiate $cell))
  (core instance $c10 (instantiate $cell))
  (core instance $c11 (instantiate $cell))
  (core module $attack
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "c0" "grow" (func $grow0 (result i32)))
    (import "c1" "grow" (func $grow1 (result i32)))
    (import "c2" "grow" (func $grow2 (result i32)))
    (import "c3" "grow" (func $grow3 (result i32)))
    (import "c4" "grow" (func $grow4 (result i32)))
    (import "c5" "grow" (func $grow5 (result i32)))
    (import "c6" "grow" (func $grow6 (result i32)))
    (import "c7" "grow" (func $grow7 (result i32)))
    (import "c8" "grow" (func $grow8 (result i32)))
    (import "c9" "grow" (func $grow9 (result i32)))
    (import "c10" "grow" (func $grow10 (result i32)))
    (import "c11" "grow" (func $grow11 (result i32)))
    (table funcref (elem $grow0 $grow1 $grow2 $grow3 $grow4 $grow5 $grow6 $grow7 $grow8 $grow9 $grow10 $grow11))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $pages i64) (local $have i64)
      (local.set $pages (call $number (local.get $at) (local.get $len)))
      (local.set $have (i64.const 1)) ;; the skeleton's
      (loop $again
        (if (i64.lt_u (local.get $have) (local.get $pages)) (then
          (if (i32.eq (i32.const -1)
                (call_indirect (result i32) (i32.wrap_i64 (i64.rem_u (local.get $have) (i64.const 12)))))
            (then unreachable))
          (local.set $have (i64.add (local.get $have) (i64.const 1)))
          (br $again))))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "c0" (instance $c0)) (with "c1" (instance $c1)) (with "c2" (instance $c2))
    (with "c3" (instance $c3)) (with "c4" (instance $c4)) (with "c5" (instance $c5))
    (with "c6" (instance $c6)) (with "c7" (instance $c7)) (with "c8" (instance $c8))
    (with "c9" (instance $c9)) (with "c10" (instance $c10)) (with "c11" (instance $c11))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
