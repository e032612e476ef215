"""What a deployment is: its states, its plans as data, and the verdict on its health. Pure: no IO, no clock."""
