;; Attacks: engine features: throws an exception that nobody catches.
;; Input: ignored.
;; When the host says no: -
;; Must happen: `400 component_invalid` where exceptions are off; where they are on, `trap`.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (tag $oops)
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (throw $oops)))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
