;; Attacks: the limiter and the logs: refusals without end.
;; Input: N growths of 65 535 pages (4 GiB less one page), each refused and ignored; empty = 2^64 - 1.
;; When the host says no: asks again.
;; Must happen: `fuel_exhausted` or `deadline_exceeded` for large N, with a growth charged as fuel and no log
;;   line for each; under, completes and returns its input.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $n i64)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (loop $again
        (if (i64.ne (local.get $n) (i64.const 0)) (then
          (drop (memory.grow (i32.const 65535)))
          (local.set $n (i64.sub (local.get $n) (i64.const 1)))
          (br $again))))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
