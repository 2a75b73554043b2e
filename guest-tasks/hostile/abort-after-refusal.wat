;; Attacks: the report of `memory_bytes`: a refusal long ago must not be blamed for a later trap.
;; Input: N pages (64 KiB) of a growth whose refusal is ignored; empty = 65 535.
;; When the host says no: goes on: 1 000 000 loop iterations, a growth of one page that succeeds, then
;;   `unreachable`.
;; Must happen: over, `trap` with code `unreachable`, not `memory_limit`; under, completes and returns its
;;   input. Give it room for 2 pages at least.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $pages i64) (local $work i32)
      (local.set $pages (call $number (local.get $at) (local.get $len)))
      (if (i64.gt_u (local.get $pages) (i64.const 65535)) (then (local.set $pages (i64.const 65535))))
      (if (i32.eq (memory.grow (i32.wrap_i64 (local.get $pages))) (i32.const -1)) (then
        (loop $again
          (local.set $work (i32.add (local.get $work) (i32.const 1)))
          (br_if $again (i32.lt_u (local.get $work) (i32.const 1000000))))
        (drop (memory.grow (i32.const 1)))
        unreachable))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
