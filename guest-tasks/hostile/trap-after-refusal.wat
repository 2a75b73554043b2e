;; Attacks: the report of `memory_bytes`: 10^8 loop turns between a refused growth and an `unreachable`.
;; Input: ignored.
;; Must happen: `trap`, not `memory_limit`: the guest did not give up because of the refusal.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $i i32)
      (drop (memory.grow (i32.const 20000)))
      (local.set $i (i32.const 100000000))
      (loop $a (br_if $a (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
      unreachable))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc")))))
