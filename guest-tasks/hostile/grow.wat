;; Attacks: `memory_bytes`, page by page.
;; Input: N pages (64 KiB) that the memory has in the end; empty = until refused.
;; When the host says no: `unreachable` as soon as `memory.grow` returns -1, as a guest's allocator does.
;; Must happen: over, `memory_limit` and not a bare `trap`; under, completes and returns its input. N pages
;;   exactly at the limit pass.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $pages i64)
      (local.set $pages (call $number (local.get $at) (local.get $len)))
      (loop $again
        (if (i64.lt_u (i64.extend_i32_u (memory.size)) (local.get $pages)) (then
          (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
          (br $again))))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
