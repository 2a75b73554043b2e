;; Attacks: engine features: an array on the collected heap.
;; Input: N elements of 8 bytes; empty = 2^32 - 1.
;; When the host says no: traps.
;; Must happen: `400 component_invalid` where gc is off; where it is on, the heap counts toward `memory_bytes`.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (type $array (array (mut i64)))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $n i64)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (if (i64.gt_u (local.get $n) (i64.const 0xffffffff)) (then (local.set $n (i64.const 0xffffffff))))
      (drop (array.new $array (i64.const 1) (i32.wrap_i64 (local.get $n))))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
