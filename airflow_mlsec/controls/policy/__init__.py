"""What a policy has to state: one YAML file for each control, whose ``states`` names the field."""
