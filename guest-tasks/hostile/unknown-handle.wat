;; Attacks: the handle table: blocks on a pollable that it was never given.
;; Input: the handle's number; empty = 12345.
;; When the host says no: -
;; Must happen: `abi_violation` or `trap` (wasmtime: unknown handle index), for every number.
(component
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $p (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $p))))))
  ;; include skeleton
  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core module $attack
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "block" (func $block (param i32)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (call $block (select (i32.const 12345)
        (i32.wrap_i64 (call $number (local.get $at) (local.get $len)))
        (i32.eqz (local.get $len))))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance
      (export "block" (func $block))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
