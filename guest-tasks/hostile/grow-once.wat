;; Attacks: `memory_bytes`, by one large growth.
;; Input: N pages (64 KiB) that the memory has in the end; empty = 65 536, 4 GiB.
;; When the host says no: `unreachable`.
;; Must happen: over, `memory_limit` naming the bytes asked for; under, completes and returns its input.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $pages i64)
      (local.set $pages (call $number (local.get $at) (local.get $len)))
      (if (i64.gt_u (local.get $pages) (i64.const 65536)) (then (local.set $pages (i64.const 65536))))
      (if (i32.eq (i32.const -1)
            (memory.grow (i32.sub (i32.wrap_i64 (local.get $pages)) (memory.size))))
        (then unreachable))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
