;; Attacks: `memory_bytes`, page by page, and takes the refusal for an answer.
;; Input: N pages (64 KiB) that the memory has in the end; empty = until refused.
;; When the host says no: stops growing and returns `refused at P pages`.
;; Must happen: over, completes with that text, P pages being the limit; under, completes and returns its
;;   input.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (data (i32.const 128) "refused at ")
    (data (i32.const 192) " pages")
    (func $decimal (param $n i32) (param $at i32) (result i32)
      (if (i32.ge_u (local.get $n) (i32.const 10)) (then
        (local.set $at (call $decimal (i32.div_u (local.get $n) (i32.const 10)) (local.get $at)))))
      (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
      (i32.add (local.get $at) (i32.const 1)))
    (func $refused (result i32) (local $end i32)
      (local.set $end (call $decimal (memory.size) (i32.const 139)))
      (memory.copy (local.get $end) (i32.const 192) (i32.const 6))
      (call $answer (i32.const 0) (i32.const 128) (i32.sub (local.get $end) (i32.const 122))))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $pages i64)
      (local.set $pages (call $number (local.get $at) (local.get $len)))
      (loop $again
        (if (i64.lt_u (i64.extend_i32_u (memory.size)) (local.get $pages)) (then
          (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then (return (call $refused))))
          (br $again))))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
